package PVE::LXC::Config;

# Stand-in for Proxmox' module of that name: reads and writes /etc/pve/lxc/CTID.conf as it does
# (facts: main section, then [pve:pending], then one section a snapshot; lxc lines with ":" or
# "="; split at \n only). Own code, from the observed behaviour.

use strict;
use warnings;

use Fcntl qw(:flock);

sub config_file {
    my ($class, $vmid) = @_;
    return "/etc/pve/lxc/$vmid.conf";
}

sub load_config {
    my ($class, $vmid) = @_;
    my $file = $class->config_file($vmid);
    open(my $fh, '<:raw', $file) or die "Configuration file '$file' does not exist\n";
    local $/;
    my $text = <$fh>;
    close($fh);
    return parse($file, $text // '');
}

sub parse {
    my ($file, $text) = @_;
    my $main = { lxc => [], pending => {}, snapshots => {}, description => '' };
    my $section = $main;
    for my $line (split(/\n/, $text)) {
        if ($line =~ /^\[pve:pending\]\s*$/i) {
            $section = $main->{pending} = { lxc => [] };
        } elsif ($line =~ /^\[([a-z][a-z0-9_\-]+)\]\s*$/i) {
            $section = $main->{snapshots}->{$1} = { lxc => [], description => '' };
        } elsif ($line =~ /^#(.*?)\r?$/) {
            $section->{description} .= "$1\n";
        } elsif ($line =~ /^(lxc\.[a-z0-9_\-\.]+)(:|\s*=)\s*(.*?)\s*$/) {
            push @{$section->{lxc}}, [$1, $3];
        } elsif ($line =~ /^([a-z][a-z_]*\d*):\s*(.+?)\s*$/) {
            $section->{$1} = $2;
        } elsif ($line =~ /\S/) {
            warn "$file: unable to parse line: $line\n";
        }
    }
    return $main;
}

sub _section {
    my ($conf) = @_;
    my $text = '';
    $text .= "#$_\n" for split(/\n/, $conf->{description} // '');
    for my $key (sort keys %$conf) {
        next if $key =~ /^(lxc|pending|snapshots|description)$/;
        $text .= "$key: $conf->{$key}\n";
    }
    $text .= "$_->[0]: $_->[1]\n" for @{$conf->{lxc} // []};
    return $text;
}

sub as_text {
    my ($conf) = @_;
    my $text = _section($conf);
    my $pending = _section($conf->{pending});
    $text .= "\n[pve:pending]\n$pending" if $pending ne '';
    $text .= "\n[$_]\n" . _section($conf->{snapshots}->{$_}) for sort keys %{$conf->{snapshots}};
    return $text;
}

# pmxcfs: a temporary file in the same folder, then a rename.
sub write_config {
    my ($class, $vmid, $conf) = @_;
    my $file = $class->config_file($vmid);
    open(my $fh, '>:raw', "$file.tmp.$$") or die "unable to open '$file.tmp.$$' - $!\n";
    print {$fh} as_text($conf);
    close($fh) or die "unable to write '$file' - $!\n";
    chmod(0640, "$file.tmp.$$");
    rename("$file.tmp.$$", $file) or die "unable to write '$file' - $!\n";
    return;
}

sub lock_config {
    my ($class, $vmid, $code, @param) = @_;
    mkdir '/run/lock/lxc';
    my $file = "/run/lock/lxc/pve-config-$vmid.lock";
    open(my $fh, '>>', $file) or die "can't open lock file '$file' - $!\n";
    my $end = time() + 10;
    while (!flock($fh, LOCK_EX | LOCK_NB)) {
        die "can't lock file '$file' - got timeout\n" if time() >= $end;
        select(undef, undef, undef, 0.05);
    }
    my @result = eval { $code->(@param) };
    my $error = $@;
    close($fh);
    die $error if $error;
    return @result;
}

# Pending changes become the configuration at the next start; pending lxc lines replace all.
sub apply_pending {
    my ($class, $vmid, $conf) = @_;
    my $pending = $conf->{pending};
    my @keys = grep { $_ ne 'lxc' } keys %$pending;
    return if !@keys && !@{$pending->{lxc} // []};
    for my $key (@keys) {
        if ($key eq 'delete') {
            delete $conf->{$_} for split(/[,;]\s*/, $pending->{delete});
        } else {
            $conf->{$key} = $pending->{$key};
        }
    }
    $conf->{lxc} = $pending->{lxc} if @{$pending->{lxc} // []};
    $conf->{pending} = {};
    $class->write_config($vmid, $conf);
    return;
}

1;
