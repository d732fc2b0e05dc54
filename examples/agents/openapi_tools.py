"""Bots as tools over plain HTTP, as LangChain's OpenAPI toolkit reads them."""

import json
import os
import urllib.request

from langchain_community.agent_toolkits.openapi.spec import reduce_openapi_spec
from langchain_community.tools.requests.tool import RequestsPostTool
from langchain_community.utilities.requests import TextRequestsWrapper

URL = os.environ.get("COZEWAY_URL", "http://127.0.0.1:8787")
KEY = os.environ.get("COZEWAY_KEY", "sk-cozeway-demo-key")
HEADERS = {"Authorization": f"Bearer {KEY}"}

request = urllib.request.Request(f"{URL}/tools/openapi.json", headers=HEADERS)
with urllib.request.urlopen(request) as response:
    spec = reduce_openapi_spec(json.load(response))
for name, description, _ in spec.endpoints:
    print(f"tool: {name}: {description}")

# What an agent of the toolkit does with it.
base = spec.servers[0]["url"]
post = RequestsPostTool(requests_wrapper=TextRequestsWrapper(headers=HEADERS), allow_dangerous_requests=True)


def call(tool: str, **arguments: str) -> dict:
    return json.loads(post.invoke(json.dumps({"url": f"{base}/{tool}", "data": arguments})))


first = call("echo", message="hello")
print(f"answer: {first['answer']}")
second = call("echo", message="and again", conversation=first["conversation"])
print(f"answer: {second['answer']}")
print(f"error: {call('broken', message='hello')['error']['code']}")
