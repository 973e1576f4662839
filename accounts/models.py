"""Users and the county each of them works for. Roles are Django groups (see `accounts.roles`)."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """A person who signs in: bureau or county staff, editor, seller or buyer."""

    display_name = models.CharField("姓名", max_length=40, blank=True)
    county = models.ForeignKey(
        "places.Unit",
        models.PROTECT,
        null=True,
        blank=True,
        verbose_name="所属县（市、区）",
        help_text="县级人员只能处理本县数据；留空表示市级或公众。",
        limit_choices_to={"level": "county"},
    )

    class Meta:
        verbose_name = verbose_name_plural = "用户"

    def __str__(self) -> str:
        return self.display_name or self.username
