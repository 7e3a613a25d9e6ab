# Containers inside that are slow to start: done when they are asked for.
# Texts in single quotes are scripts for other shells; all runs with bash -e.
# shellcheck shell=bash disable=SC2016,SC2154,SC2164,SC1091

. "$here/80-containers.sh"

# docker:dind. What Docker keeps its namespaces in is below /var/run: in many images that is no link.
deed_docker_in_docker() {
    docker_up
    docker run -d --rm --name inner --privileged --network none -v /usr:/usr:ro -v /lib:/lib:ro \
        -v /lib64:/lib64:ro -v inner:/var/lib/docker -e PATH=/usr/sbin:/usr/bin:/bin deeds \
        sh -c 'mkdir -p /var/run; exec dockerd --iptables=false --ip6tables=false --bridge=none >/log 2>&1'
    retry docker exec inner docker info >/dev/null 2>&1 || docker exec inner tail -n 5 /log
    docker exec -i inner docker import - deeds </root/img.tar
    docker exec inner docker run --rm --network none deeds echo inside | grep -qx inside
    docker stop -t 1 inner
}
