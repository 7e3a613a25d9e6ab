"""What is assigned, configured and enforced: collected from a host, judged, shown."""
