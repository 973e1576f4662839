"""Settings by place: `development` (the demo), `test`, `production`; `base` is what they share."""
