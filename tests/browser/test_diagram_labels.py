"""Diagrams in a real browser: every label lies within its box, in the page's font and in a wide one."""

import pytest
from diagrams import draw

SOURCE = """
flowchart TD
    subgraph shop [小店 one shop]
        photo[/商品照片 photographs/] --> model[卷积网络<br>Fashion-MNIST，十类商品]
        model -- "这条边上的说明也不短，自己会换行" --> sure{有把握吗？<br>confidence ≥ 90%}
    end
    sure -->|有| shelf([自动上架])
    sure -->|没有| clerk((店员))
    clerk --> book[(ACCOUNTS 2026 WWW)]
    shelf --> hexagon{{毛利 gross margin}}
    hexagon --> long["Transformer decoder-only 架构，hidden size 4096，32 层，每层 32 个注意力头（attention heads）"]
"""
# For each label: its words, and whether all corners of its text lie within the shape that holds it.
LABELS = """() => [...document.querySelectorAll('.node, .edgeLabel:has(.background)')].map(holder => {
    const text = holder.querySelector('text')
    const shape = holder.querySelector('.background[width], :is(rect, polygon, circle, path).label-container, path')
    const {x, y, width, height} = text.getBBox()
    const toShape = shape.getScreenCTM().inverse().multiply(text.getScreenCTM())
    const corners = [[x, y], [x + width, y], [x, y + height], [x + width, y + height]]
    const inside = corners.every(([x, y]) => shape.isPointInFill(new DOMPoint(x, y).matrixTransform(toShape)))
    return [text.textContent, inside]
})"""


@pytest.mark.parametrize("font", ["", "* { font-family: monospace !important; }"], ids=["page font", "wide font"])
def test_every_label_lies_within_its_box(browser, font):
    page = browser.new_page()
    page.set_content(f"<style>{font}</style>{draw(SOURCE)}")
    labels = dict(page.evaluate(LABELS))
    assert len(labels) == 11
    assert all(labels.values()), labels
    page.close()
