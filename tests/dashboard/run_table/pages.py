"""A project's page, as a reader gets it."""


def page(client, address: str, **options) -> str:
    response = client.get(address, **options)
    assert response.status_code == 200
    return response.content.decode()


def shown(client, address: str) -> list[str]:
    """The names of the runs in the table."""
    return [row.run.name for row in client.get(address).context["page"].rows]


def told(response) -> str:
    return " ".join(str(message) for message in response.context["messages"])
