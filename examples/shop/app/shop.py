"""A web shop of one file: GET / and /goods, POST /order {"sku": …, "count": …}. Uses Flask where it is there,
else the standard library; both answer the same."""
import argparse
import json
import os
import time

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "catalogue.json")) as file:
    GOODS = json.load(file)


def front_page(engine):
    return {"shop": "surcoat", "version": os.environ.get("SHOP_VERSION", "?"), "engine": engine, "goods": len(GOODS), "uid": os.getuid()}


def order(request):
    """Returns (status, answer); an accepted order is one line more in the log."""
    sku, count = request.get("sku"), request.get("count", 1)
    if sku not in GOODS:
        return 404, {"error": f"no such good: {sku}", "known": sorted(GOODS)}
    if not isinstance(count, int) or not 1 <= count <= 99:
        return 400, {"error": "count must be from 1 to 99"}
    total = GOODS[sku]["cents"] * count
    with open(os.path.join(os.environ.get("SHOP_DATA", "/tmp"), "orders.log"), "a") as log:
        log.write(f"{int(time.time())} {sku} {count} {total}\n")
    return 201, {"sku": sku, "count": count, "total_cents": total}


def serve_with_flask(flask, port):
    app = flask.Flask("shop")

    @app.get("/")
    def front():
        return front_page("flask")

    @app.get("/goods")
    def goods():
        return GOODS

    @app.post("/order")
    def place_order():
        status, answer = order(flask.request.get_json(force=True))
        return answer, status

    app.run("127.0.0.1", port)


def serve_with_standard_library(port):
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status, body):
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            pages = {"/": lambda: front_page("standard library"), "/goods": lambda: GOODS}
            page = pages.get(self.path)
            self.answer(200, page()) if page else self.answer(404, {"error": "no such page"})

        def do_POST(self):
            if self.path != "/order":
                return self.answer(404, {"error": "no such page"})
            size = int(self.headers.get("Content-Length", 0))
            try:
                self.answer(*order(json.loads(self.rfile.read(size))))
            except ValueError:
                self.answer(400, {"error": "not JSON"})

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8080)
    port = parser.parse_args().port
    try:
        import flask
    except ImportError:
        serve_with_standard_library(port)
    else:
        serve_with_flask(flask, port)
