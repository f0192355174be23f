environment        = "sound"
access_logs_bucket = "mclass-logs-222222222222"
certificate_arn    = "arn:aws:acm:ap-northeast-2:222222222222:certificate/00000000-0000-4000-8000-000000000001"
api_key            = "correct-horse-battery-staple"
