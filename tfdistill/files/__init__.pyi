from .atomic import check_target as check_target, gzip_bytes as gzip_bytes, replacing as replacing
from .cache_folder import cache_dir as cache_dir
