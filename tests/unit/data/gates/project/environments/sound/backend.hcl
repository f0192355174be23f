bucket = "mclass-tfstate-111111111111"
key    = "sound.tfstate"
region = "ap-northeast-2"
use_lockfile = true
