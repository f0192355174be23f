"""CloudWatch: metrics, alarms and metric math."""
