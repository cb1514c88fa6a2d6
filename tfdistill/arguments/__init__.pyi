from .numeric import check_int as check_int, check_number as check_number
