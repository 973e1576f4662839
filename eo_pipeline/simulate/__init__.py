"""The twin: seasons over a piece of Jingning with known truth (模拟数据); only the command imports it."""
