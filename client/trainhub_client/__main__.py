"""``python -m trainhub_client``"""

from trainhub_client.main import run

run()
