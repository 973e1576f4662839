"""The building blocks of an article. Each tells editors what to write in it and shows a filled-in preview."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from wagtail import blocks
from wagtail.blocks.struct_block import StructBlockValidationError
from wagtail.contrib.typed_table_block.blocks import TypedTableBlock
from wagtail.images import get_image_model
from wagtail.images.blocks import ImageChooserBlock

#: What running text may hold. No headings here: they are a block of their own, so that pages keep an outline.
TEXT_FEATURES = ["bold", "ol", "ul", "link", "document-link", "superscript", "subscript"]
TEXT, ACTION, FIGURES = "文字", "要做的事", "图和表"


class HeadingBlock(blocks.CharBlock):
    class Meta:
        icon = "title"
        group = TEXT
        label = "小标题"
        description = "把文章分段。一句话，不超过 20 个字。"
        template = "cms/blocks/heading.html"
        preview_value = "什么时候套袋"


class ParagraphBlock(blocks.RichTextBlock):
    class Meta:
        icon = "pilcrow"
        group = TEXT
        label = "正文"
        description = "一段话讲一件事，句子短，用大家听得懂的词；数字写上单位（亩、斤、公斤）。"
        template = "cms/blocks/paragraph.html"
        preview_value = "<p>谢花后 35—40 天、果子有指头肚大时开始套袋，选无露水的晴天。</p>"


class DoDontBlock(blocks.StructBlock):
    """Two cards: what to do, what not to do."""

    do = blocks.ListBlock(blocks.CharBlock(label="要做", max_length=80), label="要做的", min_num=1)
    dont = blocks.ListBlock(blocks.CharBlock(label="不要做", max_length=80), label="不要做的", min_num=1)

    class Meta:
        icon = "tick-inverse"
        group = ACTION
        label = "要做 / 不要做"
        description = "每条一件事，以动词开头，能照着做。"
        template = "cms/blocks/do_dont.html"
        preview_value = {
            "do": ["霜冻来前一天傍晚浇水", "备好熏烟材料"],
            "dont": ["霜后马上修剪", "大风天点火熏烟"],
        }


class StepBlock(blocks.StructBlock):
    title = blocks.CharBlock(label="做什么", max_length=40)
    text = blocks.TextBlock(label="怎么做", rows=2, required=False)

    class Meta:
        icon = "order"
        label = "一步"


class StepsBlock(blocks.StructBlock):
    """Numbered steps."""

    steps = blocks.ListBlock(StepBlock(), label="步骤", min_num=2, max_num=9)

    class Meta:
        icon = "list-ol"
        group = ACTION
        label = "步骤"
        description = "按先后写，二到九步；每步先写做什么，再写怎么做、做到什么程度。"
        template = "cms/blocks/steps.html"
        preview_value = {
            "steps": [
                {"title": "选果", "text": "留中心果、果形端正的单果。"},
                {"title": "打药", "text": "套袋前喷一次药，干了再套。"},
            ]
        }


class CalloutBlock(blocks.StructBlock):
    """One thing that must not be overlooked."""

    kind = blocks.ChoiceBlock(
        choices=[
            ("info", _("提示")),
            ("caution", _("注意")),
            ("danger", _("危险")),
            ("success", _("好办法")),
        ],
        default="info",
        label="种类",
    )
    heading = blocks.CharBlock(label="标题", max_length=40, required=False)
    text = blocks.TextBlock(label="内容", rows=3, help_text="一两句话。涉及农药要写安全间隔期。")

    class Meta:
        icon = "warning"
        group = ACTION
        label = "提示框"
        description = "读者不能漏看的一件事。一篇不要超过两个。"
        template = "cms/blocks/callout.html"
        preview_value = {"kind": "caution", "heading": "安全间隔期", "text": "采收前 20 天停止用药。"}


class FigureBlock(blocks.StructBlock):
    """A picture with a text alternative; a map needs its approval number."""

    image = ImageChooserBlock(label="图片")
    alt = blocks.CharBlock(
        label="图片说明（读屏用）",
        max_length=120,
        help_text="看不见图的人需要知道什么，就写什么；不写“图片”二字。",
    )
    caption = blocks.CharBlock(label="图注", max_length=120, required=False, help_text="写地点、时间和作者。")
    is_map = blocks.BooleanBlock(label="这是地图", required=False)
    map_approval_number = blocks.CharBlock(
        label="审图号", max_length=40, required=False, help_text="公开的地图必须有审图号，如 甘S(2025)01号。"
    )

    class Meta:
        icon = "image"
        group = FIGURES
        label = "图片"
        description = "图片要自己有权使用；地图要有审图号。"
        template = "cms/blocks/figure.html"

    def get_preview_value(self) -> Any:
        """The newest picture of the library, where there is one."""
        newest = get_image_model().objects.order_by("-pk").first()
        return self.to_python(
            {
                "image": newest.pk if newest else None,
                "alt": "图片说明",
                "caption": "2026 年 4 月 18 日，静宁县，自摄。",
            }
        )

    def clean(self, value: Any) -> Any:
        """Refuse a map without 审图号 (地图管理条例)."""
        cleaned = super().clean(value)
        if cleaned["is_map"] and not cleaned["map_approval_number"]:
            raise StructBlockValidationError(
                block_errors={
                    "map_approval_number": ValidationError(
                        "公开的地图要填审图号；没有审图号的地图不能发布，请换用标准地图。"
                    )
                }
            )
        return cleaned


class TableBlock(TypedTableBlock):
    """Typed columns, so that numbers line up and read out right."""

    text = blocks.CharBlock(label="文字", required=False)
    number = blocks.DecimalBlock(label="数字", required=False)

    class Meta:
        icon = "table"
        group = FIGURES
        label = "表格"
        description = "第一列写对象，其余列写内容；列名写上单位。手机上放得下：不超过四列。"
        template = "cms/blocks/table.html"

    def get_preview_value(self) -> Any:
        """A small filled table."""
        return self.to_python(
            {
                "caption": "麦茬地复种怎么选",
                "columns": [{"type": "text", "heading": "作物"}, {"type": "text", "heading": "最晚播种"}],
                "rows": [{"values": ["糜子", "7 月上旬"]}, {"values": ["荞麦", "7 月中旬"]}],
            }
        )


class BodyBlock(blocks.StreamBlock):
    """What an article is made of."""

    heading = HeadingBlock()
    paragraph = ParagraphBlock(features=TEXT_FEATURES)
    do_dont = DoDontBlock()
    steps = StepsBlock()
    callout = CalloutBlock()
    figure = FigureBlock()
    table = TableBlock()

    class Meta:
        block_counts = {"callout": {"max_num": 4}}
