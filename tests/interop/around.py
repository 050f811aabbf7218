"""What stands around postrider, made with the OpenTelemetry SDK of PyPI: an application that posts in a span of its own, a receiver that
reads the trace from the request, and a collector that decodes what it is sent.

    around.py serve CERTIFICATE KEY      two receivers and a collector; their ports as a line of JSON, then a line for each thing seen
    around.py post URL TOKEN REFERENCE   posts an event; the trace and span as a line of JSON
"""

import http.server
import json
import ssl
import sys
import threading
import urllib.request

from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

said = threading.Lock()


def say(**what):
    with said:
        print(json.dumps(what), flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.seen(body)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Receiver(Handler):
    def seen(self, body):
        carrier = {name.lower(): value for name, value in self.headers.items()}
        context = trace.get_current_span(TraceContextTextMapPropagator().extract(carrier)).get_span_context()
        say(kind="delivery", scheme=self.server.scheme, trace=f"{context.trace_id:032x}", span=f"{context.span_id:016x}",
            body=body.decode(), via=carrier.get("via", ""), state=context.trace_state.to_header(),
            proxy_authorization=carrier.get("proxy-authorization", ""))


class Collector(Handler):
    def seen(self, body):
        request = ExportTraceServiceRequest.FromString(body)
        for of_resource in request.resource_spans:
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    attributes = {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}
                    say(kind="span", name=span.name, trace=span.trace_id.hex(), span=span.span_id.hex(), parent=span.parent_span_id.hex(),
                        attributes=attributes, state=span.trace_state)


def serve(certificate, key):
    ports = {}
    for name, handler in [("http", Receiver), ("https", Receiver), ("collector", Collector)]:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.scheme = name
        if name == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        ports[name] = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps(ports), flush=True)
    threading.Event().wait()


def post(url, token, reference):
    trace.set_tracer_provider(TracerProvider())
    with trace.get_tracer("app").start_as_current_span("verification finished") as span:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "tracestate": ""}
        TraceContextTextMapPropagator().inject(headers)
        request = urllib.request.Request(url, json.dumps({"scanRef": reference}).encode(), headers, method="POST")
        assert urllib.request.urlopen(request).status == 202
        context = span.get_span_context()
    say(trace=f"{context.trace_id:032x}", span=f"{context.span_id:016x}")


if __name__ == "__main__":
    {"serve": serve, "post": post}[sys.argv[1]](*sys.argv[2:])
