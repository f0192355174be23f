environment    = "weak"
retention_days = 7
secure         = false
api_key        = "correct-horse-battery-staple"
