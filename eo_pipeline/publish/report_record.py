"""What the report says of how a run was made: accuracy, scenes, and inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from eo_pipeline.publish.contract import RunManifest
from eo_pipeline.publish.report_text import reason_zh, with_se

Row = dict[str, Any]

_IMAGERY: Final = ("raster", "level1c", "radar")
#: States of products that were never brought, as the ledger of fetching calls them.
_NOT_BROUGHT: Final = {
    "failed": "下载失败",
    "quarantined": "定标存疑，已隔离",
    "found": "尚未下载",
    "fetching": "尚未下载完",
}
_ROLES: Final = {
    "samples": "训练样本",
    "sample_table": "样本坐标",
    "reference": "参考样本",
    "units": "行政单元",
    "parcels": "地块",
    "baseline": "往年运行",
    "dem": "高程模型",
    "climatology": "历年同期库",
}
_KINDS: Final = {"temporal-ensemble": "时序网络集成"}
_DESIGNS: Final = {"stratified_random": "分层随机抽样", "simple_random": "简单随机抽样"}


def accuracies(accuracy: Row) -> list[Row]:
    """Model beside baseline, of each cross-validation."""
    blocks = []
    for key, caption in (
        ("cross_validation", "交叉验证（整组留出，图上所用通道）"),
        ("cross_validation_all_channels", "交叉验证（样本自带的全部通道）"),
    ):
        found = accuracy.get(key)
        if not found:
            continue
        blocks.append(
            {
                "caption": caption,
                "rows": [
                    {
                        "name": name,
                        "oa": f"{100 * found[part]['overall_accuracy']:.1f}%",
                        "f1": f"{found[part]['macro_f1']:.3f}",
                        "ece": f"{found[part]['ece']:.3f}",
                        "n": f"{found[part]['n']:,}",
                    }
                    for part, name in (("model", "时序网络（所用模型）"), ("baseline", "决策树（对照）"))
                ],
                "note": f"{len(found.get('folds', []))} 折，按组整体留出，"
                f"共 {found['groups']} 组，随机种子 {found['seed']}。"
                "同一地块或同一方格的样本不会同时出现在训练和检验中。",
            }
        )
    return blocks


def references(accuracy: Row, zh: Callable[[str], str]) -> list[Row]:
    """User's and producer's accuracy from the independent sample."""
    found = accuracy.get("reference")
    if not found or "overall_accuracy" not in found:
        return []
    rows = [
        {"zh": zh(name), "users": with_se(u, us), "producers": with_se(p, ps)}
        for name, u, us, p, ps in zip(
            found["labels"],
            found["users_accuracy"],
            found["users_se"],
            found["producers_accuracy"],
            found["producers_se"],
            strict=True,
        )
    ]
    overall = with_se(found["overall_accuracy"], found["overall_se"])
    design = _DESIGNS.get(found["design"], found["design"])
    caption = f"独立参考样本（{design}，{found['n']} 点）：面积加权总体精度 {overall}"
    return [{"caption": caption, "rows": rows}]


def confusions(accuracy: Row, zh: Callable[[str], str]) -> list[Row]:
    """Confusion matrices: cross-validated, and of the reference sample."""
    blocks = []
    validation, reference = accuracy.get("cross_validation"), accuracy.get("reference")
    if validation:
        model = validation["model"]
        blocks.append(("混淆矩阵（交叉验证，样本数）", "真实 ＼ 判别", model["labels"], model["confusion"]))
    if reference and "confusion" in reference:
        blocks.append(
            ("混淆矩阵（独立样本，点数）", "图上 ＼ 参考", reference["labels"], reference["confusion"])
        )
    return [
        {
            "caption": caption,
            "corner": corner,
            "names": [zh(name) for name in labels],
            "rows": [
                {
                    "name": zh(name),
                    "cells": [{"count": v, "level": min(9, int(9 * v / max(1, sum(row))))} for v in row],
                }
                for name, row in zip(labels, table, strict=True)
            ],
        }
        for caption, corner, labels, table in blocks
    ]


def scenes(manifest: RunManifest) -> Row:
    """How many scenes, the rejected ones with the reason, and products that never became scenes."""
    found = [row for row in manifest.inputs if row.get("role") == "scene"]
    rejected = [
        {
            "date": row["date"],
            "tile": row["tile"],
            "seen": f"{row['clear_share']:.0%}",
            "outlier": f"{row['outlier_share']:.0%}",
            "reason": reason_zh(row["reason"]),
        }
        for row in found
        if row["rejected"]
    ]
    empty = dict.fromkeys(("tile", "date", "provider", "state"), "")
    left = [empty | row for row in manifest.inputs if row.get("role") == "skipped"]
    return {
        "total": len(found),
        "used": len(found) - len(rejected),
        "rejected": rejected,
        "clouds": next((row for row in manifest.inputs if row.get("role") == "clouds"), None),
        "passes": next((row for row in manifest.inputs if row.get("role") == "passes"), None),
        "skipped": [row for row in left if row["state"] not in _NOT_BROUGHT],
        "missing": [
            row | {"state_zh": _NOT_BROUGHT[row["state"]]} for row in left if row["state"] in _NOT_BROUGHT
        ],
    }


def inputs(manifest: RunManifest) -> list[Row]:
    """Provenance: inputs, model, code."""
    files = [row for row in manifest.inputs if row.get("role") != "scene"]
    rasters = sum(row.get("role") in _IMAGERY for row in files)
    rows = [{"name": "输入影像", "text": f"{rasters} 个文件，逐个记录 SHA-256，见 run.json"}]
    rows += [
        {
            "name": _ROLES.get(row["role"], row["role"]),
            "text": f"{row['path']}（SHA-256 {row['sha256'][:12]}…）",
        }
        for row in files
        if row.get("role") not in _IMAGERY and "sha256" in row
    ]
    rows += [{"name": "模型", "text": _model(card)} for card in manifest.models]
    code = manifest.code
    rows.append(
        {
            "name": "程序",
            "text": f"版本 {code.get('version', '')}，提交 {str(code.get('commit', ''))[:12]}",
        }
    )
    if manifest.timings:
        rows.append({"name": "用时", "text": f"{sum(manifest.timings.values()):.0f} 秒"})
    return rows


def _model(card: Mapping[str, Any]) -> str:
    """What a model is, by its card."""
    kind = str(card.get("kind", ""))
    text = _KINDS.get(kind, kind)
    parameters, samples = card.get("parameters"), card.get("data", {}).get("samples")
    if isinstance(parameters, int):
        text += f"，{parameters:,} 个参数"
    if isinstance(samples, int):
        text += f"，{samples:,} 个训练样本"
    return text
