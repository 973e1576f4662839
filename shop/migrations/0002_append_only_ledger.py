"""Let the database itself refuse to change or remove a row of the stock ledger."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION shop_stockmovement_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'shop_stockmovement is append-only: enter a movement the other way instead of %', TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER shop_stockmovement_append_only BEFORE UPDATE OR DELETE ON shop_stockmovement
    FOR EACH ROW EXECUTE FUNCTION shop_stockmovement_append_only();
"""
BACKWARD = """
DROP TRIGGER shop_stockmovement_append_only ON shop_stockmovement;
DROP FUNCTION shop_stockmovement_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
