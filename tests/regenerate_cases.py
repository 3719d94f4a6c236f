"""Update the expected values of all golden cases. If one changes, list the change in CHANGELOG.md, 'Output changes'."""

import golden
import yaml

for name, case in golden.CASES.items():
    case["expected"] = golden.describe_clip(golden.render_case(case))
    (golden.FOLDER / f"{name}.yaml").write_text(yaml.safe_dump(case, sort_keys=False, default_flow_style=None, width=100))
    print(name, case["expected"]["sha256"][:16])
