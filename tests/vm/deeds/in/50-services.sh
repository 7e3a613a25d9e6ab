# Daemons by their own units, each used once by a client.
# Texts in single quotes are scripts for other shells; all runs with bash -e.
# shellcheck shell=bash disable=SC2016,SC2154,SC2164,SC1091

deed_nginx() {
    start nginx
    curl -sf http://127.0.0.1/ | grep -qi '<html'
    systemctl stop nginx
}

deed_apache() {
    echo deed >/var/www/html/deed.txt
    systemctl stop nginx
    start apache2
    curl -sf http://127.0.0.1/deed.txt | grep -qx deed
    systemctl stop apache2
}

deed_haproxy() {
    start haproxy
    systemctl is-active haproxy
    systemctl stop haproxy
}

deed_postgresql() {
    start postgresql
    retry runuser -u postgres -- psql -qc 'CREATE TABLE deed (a INT)'
    runuser -u postgres -- psql -Atqc 'INSERT INTO deed VALUES (42) RETURNING a' | grep -qx 42
    systemctl stop postgresql
}

deed_redis() {
    start redis-server
    retry redis-cli set deed 42
    redis-cli get deed | grep -qx 42
    systemctl stop redis-server
}

deed_memcached() {
    start memcached
    retry ask 11211 'version\r\n' | grep -q VERSION
    systemctl stop memcached
}

deed_mosquitto() {
    start mosquitto
    systemctl is-active mosquitto
    systemctl stop mosquitto
}

deed_dovecot() {
    start dovecot
    retry ask 143 'a LOGOUT\r\n' | grep -q OK
    systemctl stop dovecot
}

deed_unbound() {
    printf 'server:\n  port: 5301\n  local-data: "deed.test. A 10.1.2.3"\n' >/etc/unbound/unbound.conf.d/deed.conf
    start unbound
    retry dig +short -p 5301 @127.0.0.1 deed.test | grep -qx 10.1.2.3
    systemctl stop unbound
}

deed_dnsmasq() {
    printf 'port=5302\naddress=/deed.test/10.1.2.3\nno-resolv\n' >/etc/dnsmasq.d/deed
    start dnsmasq
    retry dig +short -p 5302 @127.0.0.1 deed.test | grep -qx 10.1.2.3
    systemctl stop dnsmasq
}

deed_named() {
    systemctl stop systemd-resolved 2>/dev/null || true
    start named
    retry dig +short @127.0.0.1 localhost | grep -qx 127.0.0.1
    systemctl stop named
}

deed_chrony() {
    start chrony
    systemctl is-active chrony || absent 'not for containers'
    chronyc tracking | grep -q 'Reference ID'
    systemctl stop chrony
}

deed_rsync() {
    mkdir -p /srv/rsync
    echo deed >/srv/rsync/x
    printf '[deed]\npath = /srv/rsync\nread only = yes\n' >/etc/rsyncd.conf
    start rsync
    retry rsync rsync://127.0.0.1/deed/x /root/rsynced
    grep -qx deed /root/rsynced
    systemctl stop rsync
}

deed_ssh() {
    start ssh
    rm -f /root/.ssh/deed /root/.ssh/authorized_keys
    mkdir -p /root/.ssh
    ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/deed
    cp /root/.ssh/deed.pub /root/.ssh/authorized_keys
    local options=(-i /root/.ssh/deed -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null)
    ssh -tt "${options[@]}" root@127.0.0.1 'tty; echo inside' | tr -d '\r' | grep -qx inside
    echo 'get /etc/hostname /root/got' | sftp -q -b - "${options[@]}" root@127.0.0.1
    cmp /etc/hostname /root/got
    systemctl stop ssh
}

deed_cron() {
    start cron
    systemctl is-active cron
}
