"""The twin: a season over a small piece of Jingning with known truth (模拟数据). Nothing but the command imports it."""
