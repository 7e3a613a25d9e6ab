package PVE::LXC;

# Stand-in for Proxmox' module of that name: the runtime configuration /var/lib/lxc/CTID/config
# from .conf, with Proxmox' own AppArmor lines where .conf names no profile, and the hookscript.
# Own code, from the observed behaviour.

use strict;
use warnings;

use PVE::LXC::Config;

sub _apparmor_lines {
    my ($conf) = @_;
    return '' if grep { $_->[0] eq 'lxc.apparmor.profile' } @{$conf->{lxc}};
    my $pve9 = -e '/etc/apparmor.d/abi/4.0';
    my %feature = map { /^([a-z]+)=(.*)$/ ? ($1, $2) : () } split(/,/, $conf->{features} // '');
    my $text = "lxc.apparmor.profile = generated\n";
    $text .= "lxc.apparmor.raw = allow mqueue,\n" if $pve9;
    if ($feature{nesting}) {
        $text .= "lxc.apparmor.allow_nesting = 1\n";
        $text .= "lxc.apparmor.raw = allow userns,\n" if $pve9;
    } else {
        $text .= "lxc.apparmor.raw = deny mount -> /proc/,\n";
        $text .= "lxc.apparmor.raw = deny mount -> /sys/,\n";
    }
    $text .= "lxc.apparmor.raw = mount fstype=$_,\n" for split(/;/, $feature{mount} // '');
    return $text;
}

sub update_lxc_config {
    my ($vmid, $conf) = @_;
    my $folder = "/var/lib/lxc/$vmid";
    if ($conf->{template}) {
        unlink "$folder/config";
        return;
    }
    mkdir $folder;
    mkdir "$folder/rootfs";

    my $text = "lxc.cgroup.relative = 0\n";
    $text .= "lxc.cgroup.dir.monitor = lxc.monitor/$vmid\n";
    $text .= "lxc.cgroup.dir.container = lxc/$vmid\n";
    $text .= "lxc.cgroup.dir.container.inner = ns\n";
    $text .= "lxc.arch = amd64\n";
    $text .= "lxc.include = /usr/share/lxc/config/common.conf\n";
    if ($conf->{unprivileged}) {
        $text .= "lxc.include = /usr/share/lxc/config/userns.conf\n";
        $text .= "lxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 100000 65536\n";
    }
    $text .= _apparmor_lines($conf);
    if (($conf->{features} // '') =~ /fuse=1/) {
        $text .= "lxc.apparmor.raw = mount fstype=fuse,\n";
        $text .= "lxc.mount.entry = /dev/fuse dev/fuse none bind,create=file 0 0\n";
    }
    # busybox init's own signals
    $text .= "lxc.signal.halt = SIGUSR1\nlxc.signal.reboot = SIGTERM\n"
        if ($conf->{ostype} // '') eq 'busybox';
    $text .= "lxc.monitor.unshare = 1\n";
    $text .= "lxc.hook.pre-start = /usr/share/lxc/hooks/lxc-pve-prestart-hook\n";
    $text .= "lxc.hook.post-stop = /usr/share/lxc/hooks/lxc-pve-poststop-hook\n";
    $text .= "lxc.tty.max = 2\nlxc.environment = TERM=linux\n";
    $text .= "lxc.uts.name = " . ($conf->{hostname} // "CT$vmid") . "\n";
    $text .= "lxc.cgroup2.memory.max = " . $conf->{memory} * 1048576 . "\n" if $conf->{memory};
    $text .= "lxc.rootfs.path = $folder/rootfs\n";
    $text .= "lxc.net.0.type = empty\n";
    $text .= "$_->[0] = $_->[1]\n" for @{$conf->{lxc}};

    open(my $fh, '>', "$folder/config.tmp.$$") or die "unable to open config - $!\n";
    print {$fh} $text;
    close($fh) or die "unable to write config - $!\n";
    rename("$folder/config.tmp.$$", "$folder/config") or die "unable to write config - $!\n";
    return;
}

# The folder of a container's read-only root; rootfs: standin:NAME
sub root_of {
    my ($conf) = @_;
    my ($name) = ($conf->{rootfs} // '') =~ /^standin:([a-z0-9]+)/
        or die "no rootfs of the kind standin:NAME\n";
    $name .= '-100000' if $conf->{unprivileged};
    for my $folder ('/srv/roots', '/srv/big') {
        return "$folder/$name" if -d "$folder/$name";
    }
    die "volume 'standin:$name' does not exist\n";
}

sub storages {
    my %found = (local => { path => '/var/lib/vz', content => '' });
    my $name;
    open(my $fh, '<', '/etc/pve/storage.cfg') or return \%found;
    while (my $line = <$fh>) {
        if ($line =~ /^([a-z]+):\s*(\S+)\s*$/) {
            $name = $2;
            $found{$name} = { type => $1, content => '' };
        } elsif ($line =~ /^\s+(\S+)\s+(.*?)\s*$/ && defined $name) {
            $found{$name}->{$1} = $2;
        }
    }
    close($fh);
    return \%found;
}

sub hookscript_path {
    my ($volid) = @_;
    my ($storage, $name) = $volid =~ m!^([^:]+):snippets/([^/]+)$!
        or die "invalid hookscript '$volid'\n";
    my $known = storages()->{$storage} or die "storage '$storage' does not exist\n";
    die "storage '$storage' does not support content-type 'snippets'\n"
        if !grep { $_ eq 'snippets' } split(/,/, $known->{content});
    my $path = "$known->{path}/snippets/$name";
    die "hook script '$volid' does not exist\n" if !-f $path;
    die "script '$volid' is not executable\n" if !-x $path;
    return $path;
}

# Runs the container's hookscript, if it has one; only pre-start may stop what goes on.
sub exec_hookscript {
    my ($conf, $vmid, $phase) = @_;
    my $volid = $conf->{hookscript} or return;
    eval {
        my $path = hookscript_path($volid);
        local %ENV = (PATH => '/sbin:/bin:/usr/sbin:/usr/bin', LC_ALL => 'C');
        chdir '/';
        system($path, $vmid, $phase);
        die "command '$path $vmid $phase' failed: exit code " . ($? >> 8) . "\n" if $?;
    };
    if (my $error = $@) {
        die "hookscript error for $vmid on $phase: $error" if $phase eq 'pre-start';
        warn "hookscript error for $vmid on $phase: $error";
    }
    return;
}

1;
