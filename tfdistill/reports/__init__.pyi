from .comparisons import Comparison as Comparison
from .html_page import write_page as write_page
from .label_figures import LabelScore as LabelScore, label_scores as label_scores
from .metrics import (
    accuracy as accuracy,
    agreement as agreement,
    auroc as auroc,
    expected_calibration_error as expected_calibration_error,
    macro_f1 as macro_f1,
)
from .provenance import run_facts as run_facts
from .resampling import Estimate as Estimate, metric_score as metric_score
from .stage_table import (
    PoolRow as PoolRow,
    StageRow as StageRow,
    add_pool as add_pool,
    format_table as format_table,
    markdown_table as markdown_table,
    write_report as write_report,
)
from .verdict import (
    Shipped as Shipped,
    Verdict as Verdict,
    compare_with_rivals as compare_with_rivals,
    shipped as shipped,
)
