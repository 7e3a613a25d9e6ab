package PVE::LXC;

# Proxmox's generator on a fake host: writes the runtime configuration anew, and that it did.

use strict;
use warnings;

use PVE::LXC::Config;

sub update_lxc_config {
    my ($vmid, $conf) = @_;
    my $root = $ENV{FAKE_ROOT};
    my ($profile) = map { $_->[1] } grep { $_->[0] eq 'lxc.apparmor.profile' } @{ $conf->{lxc} };
    open(my $log, '>>', "$root/fake-generator-calls") or die $!;
    print $log "$vmid ", $profile // 'None', "\n";
    close($log);
    die "unable to parse config\n" if -e "$root/fake-generator-fails";
    sleep 600 if -e "$root/fake-generator-hangs";
    my @lines = ('lxc.arch = amd64', map { "lxc.idmap = $_ 0 100000 65536" } qw(u g));
    push @lines, 'lxc.apparmor.profile = generated', 'lxc.apparmor.raw = deny mount -> /proc/,'
        if !defined $profile;
    push @lines, 'lxc.uts.name = test';
    push @lines, "lxc.apparmor.profile = $profile" if defined $profile;
    open(my $file, '>', "$root/var/lib/lxc/$vmid/config") or die $!;
    print $file map { "$_\n" } @lines;
    close($file);
    return;
}

1;
