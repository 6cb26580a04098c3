"""When what is sent for later comes: delays, times, repeats, cron expressions; pure."""
