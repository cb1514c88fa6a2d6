from .features import (
    attention_kl as attention_kl,
    hidden_cosine as hidden_cosine,
    hidden_mse as hidden_mse,
    relation_kl as relation_kl,
)
from .logits import (
    binary_kl as binary_kl,
    by_name as by_name,
    check_temperature as check_temperature,
    forward_kl as forward_kl,
    jensen_shannon as jensen_shannon,
    reverse_kl as reverse_kl,
    skewed_kl as skewed_kl,
    squared_error as squared_error,
)
