package PVE::LXC::Config;

# .conf of a fake host, as far as the generator needs it: its lxc.* lines.

use strict;
use warnings;

sub load_config {
    my ($class, $vmid) = @_;
    my $path = "$ENV{FAKE_ROOT}/etc/pve/lxc/$vmid.conf";
    open(my $fh, '<', $path) or die "Configuration file '$path' does not exist\n";
    my @lxc;
    while (my $line = <$fh>) {
        last if $line =~ /^\[/;
        push @lxc, [$1, $2] if $line =~ /^(lxc\.\S+?)\s*[:=]\s*(.*?)\s*$/;
    }
    close($fh);
    return { lxc => \@lxc };
}

1;
