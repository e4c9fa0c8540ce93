"""What other projects that restrict logins are configured to do, in the words of a policy."""
