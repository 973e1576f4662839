"""The review log can only grow: the database itself refuses to change or delete a decision."""

from django.db import migrations

FORWARD = """
create function monitoring_review_append_only() returns trigger language plpgsql as $$
begin
  raise exception 'monitoring_review is append-only: % refused', tg_op;
end $$;
create trigger monitoring_review_append_only before update or delete on monitoring_review
  for each row execute function monitoring_review_append_only();
"""
BACKWARD = """
drop trigger monitoring_review_append_only on monitoring_review;
drop function monitoring_review_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
