"""Draw the tables of book/data as parts of a page.

{claims}        a page's box of claims: the article's words, the verdict, the evidence; with `all`, every claim
{terms}         the glossary
{run-records}   what was measured on which machine, over several seeds
                {seeds}`notebook::name:format` gives one number's range inside a sentence
{shop-table} PART   the figures of a part of the shop;  {shop}`name` gives one of them inside a sentence
{models-table}, {hardware-table}    models and accelerators, each row with its sources
"""

import json
import tomllib
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from course.compute import Accelerator, Model

VERDICTS = {
    "open": "待核查",
    "holds": "成立",
    "limited": "需要限定",
    "wrong": "有误",
    "unfounded": "查无来源",
    "opinion": "观点",
}
DEVICES = {"cpu": "CPU", "cuda": "GPU", "mps": "Apple GPU"}


def read_table(env, name: str) -> dict:
    """Read book/data/NAME.toml and have the page rebuilt when it changes."""
    path = Path(env.srcdir, "book", "data", f"{name}.toml")
    env.note_dependency(str(path))
    return tomllib.loads(path.read_text(encoding="utf8"))


def read_run(env, file: Path) -> dict:
    """Read one file of book/data/runs and have the page rebuilt when it changes."""
    env.note_dependency(str(file))
    return json.loads(file.read_text(encoding="utf8"))


class TableDirective(SphinxDirective):
    """A directive whose content is Markdown made from a table."""

    def run(self) -> list[nodes.Node]:
        container = nodes.container(classes=[self.name])
        lines = StringList(self.markdown().splitlines(), source=self.get_source_info()[0])
        self.state.nested_parse(lines, self.content_offset, container)
        return [container]

    def markdown(self) -> str:
        raise NotImplementedError


class Claims(TableDirective):
    """`{claims}` draws the claims that this page answers, `{claims} all` every one."""

    optional_arguments = 1

    def markdown(self) -> str:
        page = Path(self.env.docname).name
        if self.arguments not in ([], ["all"]):
            raise self.error(f"claims: `all` or nothing, not {self.arguments[0]!r}")
        everything = bool(self.arguments)
        claims = [c for c in read_table(self.env, "claims")["claim"] if everything or c["page"] == page]
        if not claims:
            raise self.error(f"book/data/claims.toml holds no claim for the page {page}")
        parts = []
        for claim in claims:
            if claim["verdict"] not in VERDICTS:
                raise self.error(f"{claim['id']}: no verdict {claim['verdict']!r}; there are {', '.join(VERDICTS)}")
            verdict = VERDICTS[claim["verdict"]]
            parts += [
                f":::{{container}} claim {claim['verdict']}",
                f"**{claim['id']}** 原文{claim['section']} **{verdict}**\n",
                f"> {claim['says']}\n",
                claim.get("evidence", ""),
                ":::\n",
            ]
        return "\n".join(parts)


class Terms(TableDirective):
    """`{terms}` draws the glossary, so that {term} can link to it."""

    def markdown(self) -> str:
        terms = read_table(self.env, "glossary")["term"]
        entries = "\n\n".join(f"{t['zh']}\n  {t['en']}。{t['meaning']}" for t in terms)
        return f"```{{glossary}}\n{entries}\n```"


def readable(value: float) -> str:
    """Return four significant digits, and thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


class RunRecords(TableDirective):
    """`{run-records}` draws every file of book/data/runs, and names what no GPU has run."""

    def markdown(self) -> str:
        parts = []
        files = sorted(Path(self.env.srcdir, "book", "data", "runs").glob("*.json"))
        notebooks: dict[str, list[dict]] = {}
        for file in files:
            run = read_run(self.env, file)
            notebooks.setdefault(run["notebook"], []).append(run)
        for notebook, runs in notebooks.items():
            parts.append(f"**[](../notebooks/{notebook}.ipynb)**\n")
            for run in runs:
                seeds = "、".join(str(seed) for seed in run["seeds"])
                parts.append(f"{DEVICES[run['device']]}：{run['machine']}；{run['date']}；种子{seeds}。\n")
                parts += ["| 记录的数 | 均值 | 最小 | 最大 |", "|---|--:|--:|--:|"]
                parts += [
                    f"| `{name}` | {readable(sum(v) / len(v))} | {readable(min(v))} | {readable(max(v))} |"
                    for name, v in run["numbers"].items()
                    if min(v) != max(v)
                ]
                parts.append("")
            if not any(run["device"] == "cuda" for run in runs):
                parts.append("GPU：还没有在GPU上跑过，较大的预设因此没有数字。\n")
        return "\n".join(parts)


class SeedsRange(SphinxRole):
    """`{seeds}` gives the least and the greatest value of a recorded number over the seeds, on a CPU; once if alike."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        notebook, _, rest = self.text.partition("::")
        name, _, spec = rest.partition(":")
        file = Path(self.env.srcdir, "book", "data", "runs", f"{notebook}.cpu.json")
        numbers = read_run(self.env, file)["numbers"] if file.exists() else {}
        if name not in numbers:
            return [], [self.inliner.reporter.error(f"{file.name} has no number {name!r}", line=self.lineno)]
        least, greatest = (format(end(numbers[name]), spec) for end in (min, max))
        text = least if least == greatest else f"{least}到{greatest}"
        return [nodes.inline(self.rawtext, text, classes=["pasted-text"])], []


class ShopTable(TableDirective):
    """`{shop-table} PART` draws the figures of a part of the shop, each marked as assumption or sourced."""

    required_arguments = 1

    def markdown(self) -> str:
        figures = read_table(self.env, "shop").values()
        if self.arguments[0] not in (parts := {row["part"] for row in figures}):
            raise self.error(f"shop-table: one of {', '.join(sorted(parts))}, not {self.arguments[0]!r}")
        rows = [
            f"| {row['label']} | {row['value']:,} {row['unit']} | {row['source']} |"
            for row in figures
            if row["part"] == self.arguments[0]
        ]
        return "\n".join(["| 项目 | 数值 | 来源 |", "|---|--:|---|", *rows])


class ShopFigure(SphinxRole):
    """`{shop}` gives one figure of the shop with its unit."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        figures = read_table(self.env, "shop")
        if self.text not in figures:
            message = self.inliner.reporter.error(f"book/data/shop.toml has no figure {self.text!r}", line=self.lineno)
            return [], [message]
        row = figures[self.text]
        return [nodes.inline(self.rawtext, f"{row['value']:,}{row['unit']}", classes=["shop"])], []


def in_chinese(number: float) -> str:
    """Return a large number as Chinese counts it, rounded to four digits: 1.095亿, 1.6万亿."""
    number = float(f"{number:.4g}")
    for unit, word in ((1e12, "万亿"), (1e8, "亿"), (1e4, "万")):
        if number >= unit:
            return f"{number / unit:,.15g}{word}"
    return f"{number:,.15g}"


def power_of_ten(number: float) -> str:
    """Return 3.14×10²³, which needs no formula."""
    mantissa, exponent = f"{number:.2e}".split("e")
    return f"{mantissa}×10{str(int(exponent)).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


class ModelsTable(TableDirective):
    """`{models-table}` draws every model with its sources; what was not published stays empty."""

    def markdown(self) -> str:
        lines = ["| 模型 | 参数（激活） | 训练词元 | 训练计算量（FLOP） | 发布，出处 |", "|---|---|---|---|---|"]
        for name, row in read_table(self.env, "models").items():
            model = Model(name=name, **row)
            parameters = in_chinese(model.parameters)
            if model.active_parameters:
                parameters += f"（{in_chinese(model.active_parameters)}）"
            tokens = in_chinese(model.tokens) if model.tokens else ""
            flop = power_of_ten(model.compute_flop) if model.compute_flop else ""
            about = "；".join(filter(None, [f"{model.released:%Y-%m}{{cite}}`{','.join(model.source)}`", model.note]))
            lines.append(f"| {model.label} | {parameters} | {tokens} | {flop} | {about} |")
        return "\n".join(lines)


class HardwareTable(TableDirective):
    """`{hardware-table}` draws every accelerator with its sources and the date of its rent."""

    def markdown(self) -> str:
        lines = [
            "| 加速器 | 稠密峰值（FLOP/s） | 租金（美元/卡时） | 显存、带宽、功率 | 公布，出处 |",
            "|---|---|---|---|---|",
        ]
        for name, row in read_table(self.env, "hardware").items():
            chip = Accelerator(name=name, **row)
            peaks = "，".join(f"{key.upper()} {power_of_ten(peak)}" for key, peak in chip.peak_flop_per_second.items())
            rent = about_rent = ""
            if chip.usd_per_hour:
                span = f"（{chip.usd_per_hour_low}至{chip.usd_per_hour_high}）" if chip.usd_per_hour_low else ""
                rent = f"{chip.usd_per_hour}{span}"
                keys = ",".join(filter(None, [chip.rent_source, chip.rent_range_source]))
                about_rent = f"；租金：{chip.rent_date}，{chip.rent_note}{{cite}}`{keys}`"
            body = []
            if chip.memory_bytes:
                body.append(f"{chip.memory_bytes / 1e9:.0f}GB")
            if chip.bandwidth_bytes_per_second:
                body.append(f"{chip.bandwidth_bytes_per_second / 1e12:.2f}TB/s")
            if chip.power_watts:
                body.append(f"{chip.power_watts}瓦")
            about = f"{chip.announced}年{{cite}}`{','.join(chip.source)}`{about_rent}"
            lines.append(f"| {chip.label} | {peaks} | {rent} | {'，'.join(body)} | {about} |")
        return "\n".join(lines)


def setup(app: Sphinx) -> dict:
    app.add_directive("claims", Claims)
    app.add_directive("terms", Terms)
    app.add_directive("run-records", RunRecords)
    app.add_directive("shop-table", ShopTable)
    app.add_directive("models-table", ModelsTable)
    app.add_directive("hardware-table", HardwareTable)
    app.add_role("seeds", SeedsRange())
    app.add_role("shop", ShopFigure())
    return {"parallel_read_safe": True}
