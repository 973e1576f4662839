from django.apps import AppConfig


class FarmsConfig(AppConfig):
    name = "farms"
    verbose_name = "生产主体"
