"""What the tests of the binary share: servers, projects, a proxy, oracles."""
