"""The admin topics and commands of several brokers as those of one."""
