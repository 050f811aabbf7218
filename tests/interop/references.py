"""Prints every value that the contract calls a searchable reference of a payload; the first line is the best known."""
import json
import sys

payload = json.load(open(sys.argv[1], encoding="utf-8"))
found = [payload.get("scanRef")]
found += payload.get("scanRefList") or []
found += [payload.get(key) for key in ("clientId", "companyId", "externalRef", "monitoringId", "id")]
print("\n".join(dict.fromkeys(str(value) for value in found if value)))
