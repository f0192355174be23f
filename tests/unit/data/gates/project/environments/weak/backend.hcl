bucket = "mclass-tfstate-111111111111"
key    = "weak.tfstate"
region = "ap-northeast-2"
use_lockfile = true
