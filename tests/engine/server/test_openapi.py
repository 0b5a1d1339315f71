STATUSES = {"200", "400", "401", "403", "404", "408", "413", "500", "503"}


async def test_the_description_is_what_the_server_does(server):
    schema = (await server.client.get("/openapi.json")).json()
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert set(operation["responses"]) == STATUSES, path
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    assert "security" not in schema


async def test_every_field_is_described(server):
    schemas = (await server.client.get("/openapi.json")).json()["components"]["schemas"]
    fields = schemas["ChatCompletionRequest"]["properties"]
    assert {"messages", "temperature", "max_completion_tokens", "stream_options", "chat_template_kwargs"} <= set(fields)
    assert schemas["ChatCompletionRequest"]["required"] == ["messages"]


async def test_keys_are_described_where_there_are_some(serve):
    server = await serve({"api_key": ("key",)})
    schema = (await server.client.get("/openapi.json")).json()
    assert schema["security"] == [{"key": []}]
