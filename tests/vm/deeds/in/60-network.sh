# Tunnels and firewalls.
# Texts in single quotes are scripts for other shells; all runs with bash -e.
# shellcheck shell=bash disable=SC2016,SC2154,SC2164,SC1091

deed_tun() {
    [ -c /dev/net/tun ] || absent 'no /dev/net/tun'
    ip tuntap add dev deed0 mode tun
    ip address add 10.9.9.1/24 dev deed0
    ip link set deed0 up
    ip link delete deed0
}

deed_openvpn() {
    need openvpn
    openvpn --mktun --dev tun7
    openvpn --rmtun --dev tun7
}

deed_wireguard() {
    ip link add deed1 type wireguard || absent 'no wireguard in this kernel'
    wg genkey >/root/wg.key
    wg set deed1 private-key /root/wg.key listen-port 51820
    wg show deed1 | grep -q 51820
    ip link delete deed1
}

deed_bridge() {
    ip link add deed2 type bridge
    ip link add deed3 type veth peer name deed4
    ip link set deed3 master deed2
    echo 1 >/sys/class/net/deed2/bridge/multicast_snooping
    ip link delete deed2
    ip link delete deed3
}

deed_nftables() {
    printf 'table inet deed {\nchain c {\ntype filter hook input priority 0;\ntcp dport 9 reject;\n}\n}\n' >/root/deed.nft
    nft -f /root/deed.nft
    nft list table inet deed | grep -q 'dport 9'
    nft delete table inet deed
    start nftables
}

deed_iptables() {
    iptables -A INPUT -p tcp --dport 9 -j DROP
    iptables -S INPUT | grep -q 'dport 9'
    iptables -D INPUT -p tcp --dport 9 -j DROP
}

deed_ping() {
    ip link set lo up
    python3 - <<'X'
import socket
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
packet.bind(("lo", 0))
raw.sendto(b"\x08\x00\xf7\xff\x00\x00\x00\x00", ("127.0.0.1", 0))
raw.settimeout(5)
assert raw.recv(100)
X
}
