# The same, of those that take long on an emulated machine: not in every run.
# Texts in single quotes are scripts for other shells; all runs with bash -e.
# shellcheck shell=bash disable=SC2016,SC2154,SC2164,SC1091

deed_mariadb() {
    start mariadb
    mysql -e 'CREATE DATABASE deed; CREATE TABLE deed.t (a INT); INSERT INTO deed.t VALUES (42); SELECT a FROM deed.t' |
        grep -qx 42
    systemctl stop mariadb
}

deed_postfix() {
    postconf -e inet_interfaces=loopback-only
    start postfix
    retry ask 25 'QUIT\r\n' | grep -q '^220'
    systemctl stop postfix
}

deed_samba() {
    start smbd nmbd
    retry smbclient -N -L //127.0.0.1 | grep -qi disk
    systemctl stop smbd nmbd
}

deed_tor() {
    start tor@default
    systemctl is-active tor@default
    systemctl stop tor@default
}

deed_rsyslog() {
    start rsyslog
    logger deed-was-logged
    retry grep -qs deed-was-logged /var/log/syslog /var/log/messages
    systemctl stop rsyslog syslog.socket
}

deed_avahi() {
    start avahi-daemon
    systemctl is-active avahi-daemon
    systemctl stop avahi-daemon avahi-daemon.socket
}

deed_node_exporter() {
    start prometheus-node-exporter
    retry curl -sf -o /root/metrics http://127.0.0.1:9100/metrics
    grep -q node_cpu_seconds_total /root/metrics
    systemctl stop prometheus-node-exporter
}

deed_fail2ban() {
    printf '[DEFAULT]\nbackend = systemd\nbanaction = nftables\n[sshd]\nenabled = true\n' >/etc/fail2ban/jail.local
    start fail2ban
    retry fail2ban-client status sshd
    fail2ban-client set sshd banip 192.0.2.1
    retry eval 'nft list ruleset | grep -q 192.0.2.1'
    systemctl stop fail2ban
}

deed_apt() {
    mkdir -p /root/deb/DEBIAN /root/deb/usr/share/deed
    printf 'Package: deed\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x.x>\nDescription: x\n' >/root/deb/DEBIAN/control
    printf 'interest-noawait /usr/share/deed\n' >/root/deb/DEBIAN/triggers
    printf '#!/bin/sh\nset -e\nldconfig\nsystemctl daemon-reload\necho "$1" >>/root/postinst\n' >/root/deb/DEBIAN/postinst
    chmod 755 /root/deb/DEBIAN/postinst
    dpkg-deb -b /root/deb /root/deed_1.deb >/dev/null
    sed -i 's/Version: 1/Version: 2/' /root/deb/DEBIAN/control
    dpkg-deb -b /root/deb /root/deed_2.deb >/dev/null
    apt-get install -y /root/deed_1.deb
    apt-get install -y /root/deed_2.deb
    [ "$(dpkg-query -W -f '${Version}' deed)" = 2 ]
    apt-get purge -y deed
}

deed_unattended_upgrades() {
    unattended-upgrade --dry-run -d 2>&1 | grep -qi 'allowed origins'
}
