environment    = "weak"
image_digest   = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
retention_days = 7
secure         = false
api_key        = "correct-horse-battery-staple"
