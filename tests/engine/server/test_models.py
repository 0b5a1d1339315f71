async def test_every_name_is_listed(serve):
    server = await serve({"served_model_name": ("mosaicml/mpt-7b", "b", "b")})
    body = (await server.client.get("/v1/models")).json()
    assert body["object"] == "list"
    assert [card["id"] for card in body["data"]] == ["mosaicml/mpt-7b", "b"]
    card = body["data"][0]
    assert (card["object"], card["root"], card["max_model_len"]) == ("model", "vllm-local-starter", 128)
    assert card["permission"][0]["object"] == "model_permission"


async def test_one_name(serve):
    server = await serve({"served_model_name": ("mosaicml/mpt-7b",)})
    assert (await server.client.get("/v1/models/mosaicml/mpt-7b")).json()["id"] == "mosaicml/mpt-7b"
    response = await server.client.get("/v1/models/nope")
    assert response.status_code == 404
    assert response.json()["error"]["message"] == "The model `nope` does not exist. Valid aliases: mosaicml/mpt-7b."


async def test_embeddings_are_refused_clearly(server):
    response = await server.post("/v1/embeddings", input="Hi", model="vllm-local-starter")
    assert response.status_code == 400
    assert "does not support Embeddings API" in response.json()["error"]["message"]
