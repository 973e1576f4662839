"""Forms of the showroom. Each message says what is accepted; what was typed stays in the field."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from farms.models import ProductKind
from shop.models import Sku
from shop.models.orders import MAX_QUANTITY
from shop.selectors import counties_of_origin, grades_for_sale

_SEPARATORS = re.compile(r"[\s\-()（）—]+")
_MOBILE = re.compile(r"1[3-9]\d{9}")
_LANDLINE = re.compile(r"0\d{9,11}")

SORT_CHOICES = [
    ("new", _("最新上架")),
    ("price", _("价格从低到高")),
    ("-price", _("价格从高到低")),
    ("unit", _("每斤价从低到高")),
]


def quantity_field() -> forms.IntegerField:
    """A whole number of packs from 1 to `MAX_QUANTITY`."""
    wrong = _("数量应为 1 到 999 的整数。")  # MAX_QUANTITY: a lazy text takes no value
    return forms.IntegerField(
        label=_("数量（件）"),
        min_value=1,
        max_value=MAX_QUANTITY,
        initial=1,
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
        error_messages={"invalid": wrong, "required": wrong, "min_value": wrong, "max_value": wrong},
    )


class FilterForm(forms.Form):
    """Filters of the list. A value that is not on offer is left out, so an old link still shows something."""

    q = forms.CharField(label=_("找什么"), required=False, max_length=60, strip=True)
    county = forms.ChoiceField(label=_("产地"), required=False)
    kind = forms.ChoiceField(label=_("种类"), required=False)
    grade = forms.ChoiceField(label=_("等级"), required=False)
    sort = forms.ChoiceField(label=_("排序"), required=False, choices=SORT_CHOICES)

    def __init__(self, *args: Any, english: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        everything = [("", _("全部"))]
        self.fields["q"].widget.attrs["placeholder"] = gettext("例如 静宁苹果、洋芋")
        self.fields["county"].choices = everything + [
            (code, name_en if english and name_en else name) for code, name, name_en in counties_of_origin()
        ]
        self.fields["kind"].choices = everything + list(ProductKind.choices)
        self.fields["grade"].choices = everything + [(grade, grade) for grade in grades_for_sale()]

    def chosen(self) -> dict[str, str]:
        """Values that hold, ready for `selectors.showroom`."""
        self.is_valid()
        values = {name: str(self.cleaned_data.get(name) or "") for name in self.fields}
        return {
            "query": values["q"],
            "county": values["county"],
            "kind": values["kind"],
            "grade": values["grade"],
            "sort": values["sort"] or "new",
        }


class AddToCartForm(forms.Form):
    """Which grade, how many."""

    sku = forms.TypedChoiceField(
        label=_("规格"),
        coerce=int,
        widget=forms.RadioSelect,
        error_messages={
            "required": _("请选择一个规格。"),
            "invalid_choice": _("没有这个规格，请从列出的规格里选。"),
        },
    )
    quantity = quantity_field()

    def __init__(self, *args: Any, skus: list[Sku], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["sku"].choices = [(sku.pk, sku.label) for sku in skus]
        self.fields["sku"].initial = next((sku.pk for sku in skus if sku.stock > 0), None)


class CartLineForm(forms.Form):
    """A new quantity of a line."""

    quantity = quantity_field()


class CheckoutForm(forms.Form):
    """Where the order goes, and the two things a buyer must have read."""

    key = forms.UUIDField(widget=forms.HiddenInput)
    seen_total_fen = forms.IntegerField(widget=forms.HiddenInput, min_value=0)
    name = forms.CharField(
        label=_("收货人姓名"),
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
        error_messages={"required": _("请填写收货人姓名。")},
    )
    phone = forms.CharField(
        label=_("电话"),
        max_length=20,
        help_text=_("11 位手机号，或带区号的固定电话；快递员联系您用。"),
        widget=forms.TextInput(attrs={"autocomplete": "tel", "inputmode": "tel"}),
        error_messages={"required": _("请填写电话。")},
    )
    address = forms.CharField(
        label=_("收货地址"),
        min_length=8,
        max_length=200,
        help_text=_("省、市、县（区）、乡镇（街道）、村或小区、门牌号。"),
        widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "street-address"}),
        error_messages={
            "required": _("请填写收货地址。"),
            "min_length": _("地址太短，快递员找不到；请写到门牌号或村组。"),
        },
    )
    note = forms.CharField(label=_("备注"), max_length=200, required=False)
    fresh = forms.BooleanField(
        label=_("退货规则"),
        help_text=_("我知道鲜活易腐商品不适用七日无理由退货；坏果、缺重可凭照片找商家处理。"),
        error_messages={"required": _("请确认您已知道鲜活易腐商品的退货规则。")},
    )
    consent = forms.BooleanField(
        label=_("个人信息"),
        help_text=_("我同意商家为这次订单的送货和售后使用以上姓名、电话和地址。"),
        error_messages={"required": _("须同意后才能下单：没有收货信息，商家无法送货。")},
    )

    def __init__(self, *args: Any, has_fresh: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not has_fresh:
            del self.fields["fresh"]
        self.label_suffix = ""

    def clean_phone(self) -> str:
        """Digits only; separators that people type are taken out."""
        phone = _SEPARATORS.sub("", self.cleaned_data["phone"]).removeprefix("+86")
        if not (_MOBILE.fullmatch(phone) or _LANDLINE.fullmatch(phone)):
            raise forms.ValidationError(
                gettext("电话应为 11 位手机号，或带区号（0933）的固定电话；请看有没有漏输。"),
                code="phone",
            )
        return phone
