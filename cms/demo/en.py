"""Sample pages in English: enough that the language switch leads somewhere. Slugs are those of the Chinese pages."""

from __future__ import annotations

from typing import Any

from cms.demo.blocks import callout, do_dont, heading, paragraph, steps, table

AUTHOR = "Sample author (prefecture extension station)"
SOURCE = "Compiled from public growing guides; a sample article, not approved by the extension service"

HOME: dict[str, str] = {
    "title": "Home",
    "headline": "Crops from space, fruit from terraces",
    "introduction": "How the crops of Pingliang are growing, what farmers should do this month, and where to buy what they grow.",
}

SECTIONS: dict[str, dict[str, str]] = {
    "info": {
        "title": "Information",
        "introduction": "Advice for farmers and news. Every article names its crop, season, source and review date.",
    },
    "advisories": {
        "title": "Farming advice",
        "introduction": "By crop and season: what to do this month, how, and what to leave.",
    },
    "news": {"title": "News", "introduction": "What happens in the farming of Pingliang."},
}

ADVISORIES: dict[str, dict[str, Any]] = {
    "apple-winter-protection": {
        "title": "Four jobs before the orchard freezes",
        "introduction": "Done between leaf fall and hard frost, they leave less canker and fewer pests for next year.",
        "stage": "leaf fall to hard frost",
        "body": [
            paragraph(
                "Orchards in Pingliang usually freeze in the second half of November. Once the leaves are down and before the soil is hard, do these four jobs in order."
            ),
            steps(
                (
                    "Clean",
                    "Rake up leaves and mummified fruit, cut out diseased wood, and carry it all away from the orchard.",
                ),
                (
                    "Treat canker",
                    "Scrape each wound clean, one centimetre into healthy bark, take the scrapings away, and dress the wound.",
                ),
                (
                    "Whitewash",
                    "Paint trunks and the base of main limbs to 80–100 cm with lime, lime sulphur, salt and water.",
                ),
                (
                    "Water",
                    "Where there is water, irrigate once when the soil thaws by day and freezes by night; elsewhere mulch the tree row.",
                ),
            ),
            do_dont(
                [
                    "Guard young trunks against hares",
                    "Spray lime sulphur after cleaning",
                    "Furl hail nets before snow",
                ],
                ["Strip leaves by hand", "Leave pruning cuts undressed", "Pile diseased wood under trees"],
            ),
        ],
    },
    "apple-bloom-frost": {
        "title": "Frost at apple bloom: get ready three days ahead",
        "introduction": "Fuji blooms in mid to late April; at about −2 °C flowers are lost.",
        "stage": "bloom",
        "body": [
            paragraph(
                "Clear, calm, dry nights bring frost. Valley floors are colder than the tableland, and the hours before sunrise are the coldest."
            ),
            table(
                "Temperatures that kill flowers and young fruit within half an hour (published trials, for guidance)",
                ["Stage", "one in ten", "nine in ten"],
                [
                    ["Green tip", "−7.8 °C", "−12.2 °C"],
                    ["Tight cluster", "−2.8 °C", "−6.1 °C"],
                    ["First pink", "−2.2 °C", "−4.4 °C"],
                    ["Full bloom", "−2.2 °C", "−3.9 °C"],
                ],
            ),
            heading("Before"),
            steps(
                (
                    "Watch the forecast",
                    "When the weather station warns of frost, have people, fuel and water ready.",
                ),
                ("Irrigate", "Wet soil gives its heat back slowly: water one or two days ahead."),
                (
                    "Start machines in time",
                    "Run wind machines or sprinklers from 1–2 °C until the air is warm again after sunrise.",
                ),
            ),
            heading("After"),
            do_dont(
                [
                    "Thin later and keep side blossoms",
                    "Pollinate by hand or with bees",
                    "Photograph the damage and report it",
                ],
                ["Prune on the same day", "Spray strong mixtures on damaged trees"],
            ),
        ],
    },
    "pledge-certificate": {
        "title": "The pledge certificate: one for every batch",
        "introduction": "Firms and cooperatives issue it for each batch of fruit or live cattle they sell; for farmers it is voluntary.",
        "stage": "before sale",
        "body": [
            paragraph(
                "The national rules on pledge certificates (承诺达标合格证) have been in force since 1 February 2026 and cover fruit and live animals."
            ),
            steps(
                ("Product and quantity", "For example: Fuji apples, 500 kg."),
                ("Origin and date", "Down to the village, with the day of picking."),
                ("Issuer", "Name and a telephone number that answers."),
                ("Pledge", "No banned substances, doses kept, waiting periods observed."),
            ),
            callout(
                "info",
                "Buyers",
                "Those who buy to sell on collect and keep certificates for six months, and issue new ones after mixing.",
            ),
        ],
    },
}

NEWS: dict[str, dict[str, Any]] = {
    "how-to-read-figures": {
        "title": "How to read the figures: the interval first",
        "introduction": "Areas counted from space carry errors. Every number here stands beside its 95 % interval.",
        "source": "Sample item",
        "body": [
            paragraph(
                "A pixel is ten metres square, or 0.15 mu. Terraces are narrow, so one pixel often holds two crops, and counting pixels gives too much or too little.",
                "The figures here are corrected with ground samples and given with an interval. They are monitoring values, not official statistics.",
            )
        ],
    },
}

STANDARD: dict[str, dict[str, Any]] = {
    "about": {
        "title": "About",
        "introduction": "Satellites watch the crops, advice reaches the phone, and good produce finds its buyers.",
        "body": [
            paragraph(
                "This is a demonstration. Articles, people and sellers are samples; monitoring results are computed from simulated data and labelled so."
            ),
        ],
    },
    "data": {
        "title": "About the data",
        "introduction": "Where the numbers come from and how far to trust them.",
        "body": [
            steps(
                ("Images", "Sentinel-2 level 2A, 10 m; clouds and their shadows are removed."),
                ("Curves", "One composite every ten days gives each pixel its curve of the season."),
                ("Crops", "A model trained on field samples tells crops apart and says how sure it is."),
                (
                    "Areas",
                    "Corrected with samples and given with a 95 % interval, beside the plain pixel count.",
                ),
                ("Review", "County and prefecture check every figure; only accepted ones are public."),
            ),
            paragraph("1 hectare is 15 mu. Growth classes use trial thresholds."),
        ],
    },
}
