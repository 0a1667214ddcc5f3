"""Turns the goods list into the JSON that the shop serves: make_catalogue.py IN.csv OUT.json"""
import csv
import json
import sys

with open(sys.argv[1], newline="") as source:
    goods = {row["sku"]: {"name": row["name"], "cents": int(row["cents"])} for row in csv.DictReader(source)}
with open(sys.argv[2], "w") as target:
    json.dump(goods, target, indent=1, sort_keys=True)
print(f"{len(goods)} goods")
