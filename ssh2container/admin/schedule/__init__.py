"""Jobs at times: cron's fields, and what systemd and cron are given of them."""
