"""Asking about pictures, and what is said to one who is refused."""


def part(url, **fields):
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def request(*parts, text="What is this?", **options):
    content = [*parts, {"type": "text", "text": text}]
    return {"model": "tiny", "max_tokens": 1, "messages": [{"role": "user", "content": content}], **options}


def ask(client, *parts, key=None, **options):
    headers = {"Authorization": f"Bearer {key}"} if key else None
    return client.post("/v1/chat/completions", json=request(*parts, **options), headers=headers)


def answered(client, url):
    """How probable the likeliest first tokens are: fine enough to tell any two pictures apart."""
    response = ask(client, part(url), logprobs=True, top_logprobs=8)
    assert response.status_code == 200, response.text
    (token,) = response.json()["choices"][0]["logprobs"]["content"]
    return tuple(round(one["logprob"], 4) for one in token["top_logprobs"])


def refused(response, param, status=400):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert response.headers["x-should-retry"] == "false"
    assert not any(word in error["message"] for word in ("/", "PIL", "Error", "0x", "\n")), error["message"]
    return error["message"]
