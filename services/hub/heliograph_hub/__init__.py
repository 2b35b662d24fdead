"""The hub: front door for agents, read-only API, metrics. `config.HubConfig` in, `app.create_app` out."""
