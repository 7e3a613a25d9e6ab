package PVE::LXC;

# Stand-in for Proxmox' module of that name: the runtime configuration /var/lib/lxc/CTID/config
# from .conf, with Proxmox' own AppArmor lines where .conf names no profile, and the hookscript.
# Own code, from the observed behaviour.

use strict;
use warnings;

use PVE::LXC::Config;

sub is_true {
    my ($value) = @_;
    return ($value // '') =~ /^(1|on|yes|true)$/i ? 1 : 0;
}

# features: key -> its value; booleans as Proxmox reads them.
sub features {
    my ($conf) = @_;
    my %found;
    for my $part (split(/,/, $conf->{features} // '')) {
        my ($key, $value) = $part =~ /^\s*([a-z_]+)=(.+?)\s*$/ or next;
        $found{$key} = $key eq 'mount' ? $value : is_true($value);
    }
    return \%found;
}

sub lxc_values {
    my ($conf, $key) = @_;
    return map { $_->[1] } grep { $_->[0] eq $key } @{$conf->{lxc} // []};
}

# By the option, or by lines that map ids.
sub is_unprivileged {
    my ($conf) = @_;
    return 1 if is_true($conf->{unprivileged});
    return lxc_values($conf, 'lxc.idmap') ? 1 : 0;
}

sub file_systems {
    my ($feature) = @_;
    return grep { $_ ne '' } split(/[,;\s]+/, $feature->{mount} // '');
}

sub _apparmor_lines {
    my ($conf, $feature) = @_;
    if (lxc_values($conf, 'lxc.apparmor.profile')) {
        my @lost = map { "features:$_" } grep { $feature->{$_} } qw(fuse nesting mount);
        warn "explicitly configured lxc.apparmor.profile overrides the following settings: "
            . join(', ', @lost) . "\n" if @lost;
        return '';
    }
    my $pve9 = -e '/etc/apparmor.d/abi/4.0';
    my $text = "lxc.apparmor.profile = generated\n";
    $text .= "lxc.apparmor.raw = allow mqueue,\n" if $pve9;
    if ($feature->{nesting}) {
        $text .= "lxc.apparmor.allow_nesting = 1\n";
        $text .= "lxc.apparmor.raw = allow userns,\n" if $pve9;
    } else {
        $text .= "lxc.apparmor.raw = deny mount -> /proc/,\n";
        $text .= "lxc.apparmor.raw = deny mount -> /sys/,\n";
    }
    $text .= "lxc.apparmor.raw = mount fstype=$_,\n" for file_systems($feature);
    return $text;
}

# Unprivileged containers have a seccomp policy of Proxmox' own: LXC's, and no AF_ALG sockets, no
# ioctls of btrfs, and (without features:keyctl) no keyctl.
sub _seccomp_line {
    my ($conf, $folder, $feature) = @_;
    return '' if !is_unprivileged($conf) || lxc_values($conf, 'lxc.seccomp.profile');
    open(my $common, '<', '/usr/share/lxc/config/common.seccomp') or die "common.seccomp: $!\n";
    local $/;
    my $rules = <$common>;
    close($common);
    $rules .= "ioctl errno 1 [1,0x9400,SCMP_CMP_MASKED_EQ,0xff00]\n";
    $rules .= "keyctl errno 38\n" if !$feature->{keyctl};
    $rules .= "socket errno 97 [0,38,SCMP_CMP_EQ]\n";
    open(my $fh, '>', "$folder/rules.seccomp") or die "rules.seccomp: $!\n";
    print {$fh} $rules;
    close($fh) or die "rules.seccomp: $!\n";
    return "lxc.seccomp.profile = $folder/rules.seccomp\n";
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
    my $feature = features($conf);
    if (is_unprivileged($conf)) {
        $text .= "lxc.include = /usr/share/lxc/config/userns.conf\n";
        # lines of the user's own come below
        $text .= "lxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 100000 65536\n"
            if !lxc_values($conf, 'lxc.idmap');
    }
    $text .= _seccomp_line($conf, $folder, $feature);
    $text .= _apparmor_lines($conf, $feature);
    if ($feature->{fuse}) {
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
    $name .= '-100000' if is_unprivileged($conf);
    for my $folder ('/srv/roots', '/srv/big') {
        return "$folder/$name" if -d "$folder/$name";
    }
    die "volume 'standin:$name' does not exist\n";
}

# As PVE::SectionConfig reads it: a blank line ends a section, blanks or tabs part a property.
sub storages {
    my %found = (local => { type => 'dir' });
    my $section;
    if (open(my $fh, '<', '/etc/pve/storage.cfg')) {
        while (my $line = <$fh>) {
            if ($line =~ /^\s*$/) {
                $section = undef;
            } elsif ($line =~ /^([a-z]+):\s*(\S+)\s*$/) {
                $section = $found{$2} = { type => $1 };
            } elsif ($section && $line =~ /^\s+(\S+)(?:\s+(.*?))?\s*$/) {
                $section->{$1} = $2 // '';
            }
        }
        close($fh);
    }
    $found{local}->{path} = '/var/lib/vz';    # whatever the file says
    $_->{content} //= 'images,rootdir' for values %found;
    return \%found;
}

# The content of a storage plays no part in where a snippet is, nor in running one.
sub volume_path {
    my ($volid) = @_;
    my ($storage, $name) = $volid =~ m!^([^:]+):snippets/([^/]+)$!
        or die "unable to parse volume ID '$volid'\n";
    my $known = storages()->{$storage} or die "storage '$storage' does not exist\n";
    die "can't find a path for storage '$storage'\n" if $known->{type} !~ /^(dir|nfs|cifs|btrfs)$/;
    my %folder = map { /^(.+?)=(.+)$/ ? ($1, $2) : () } split(/,/, $known->{'content-dirs'} // '');
    my $path = $known->{path} // "/mnt/pve/$storage";
    return "$path/" . ($folder{snippets} // 'snippets') . "/$name";
}

sub hookscript_path {
    my ($volid) = @_;
    my $path = volume_path($volid);
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
