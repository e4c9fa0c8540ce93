"""The text of a policy: files read safely, nodes with their places, problems with theirs."""
