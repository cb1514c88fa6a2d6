from .atomic import check_target as check_target, gzip_bytes as gzip_bytes, replacing as replacing
from .folder import (
    FolderKind as FolderKind,
    cache_dir as cache_dir,
    replacing_folder as replacing_folder,
)
from .records import FileRecord as FileRecord, file_sha256 as file_sha256, record_of as record_of
