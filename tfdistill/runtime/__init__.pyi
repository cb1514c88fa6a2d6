from .benchmark import Measurement as Measurement, measure as measure
from .interpreter import Interpreter as Interpreter
from .kv_cache import KVCache as KVCache
