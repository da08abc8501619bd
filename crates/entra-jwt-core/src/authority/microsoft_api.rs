//! Microsoft's own APIs, whose tokens are often sent to the wrong place.

use super::audience::without_slash;

/// The name of the API of Microsoft that the audience belongs to, if it is a known one.
///
/// Sources: "Verify first-party Microsoft applications in sign-in reports" for the ids, each
/// service's own page on authentication for the URIs.
pub(crate) fn name_of(audience: &str) -> Option<&'static str> {
    Some(match without_slash(audience) {
        "https://graph.windows.net" | "00000002-0000-0000-c000-000000000000" => {
            "Azure AD Graph, which is retired"
        }
        "https://management.azure.com"
        | "https://management.core.windows.net"
        | "https://management.usgovcloudapi.net"
        | "https://management.core.usgovcloudapi.net"
        | "https://management.chinacloudapi.cn"
        | "https://management.core.chinacloudapi.cn"
        | "797f4846-ba00-4fd7-ba43-dac1f8f63013" => "Azure Resource Manager",
        "https://vault.azure.net"
        | "https://vault.usgovcloudapi.net"
        | "https://vault.azure.cn"
        | "cfa8b339-82a2-471a-a3c9-0fc0be7a4093" => "Azure Key Vault",
        "https://storage.azure.com" | "e406a681-f3d4-42a8-90b6-c2b029497af1" => "Azure Storage",
        "https://database.windows.net"
        | "https://database.usgovcloudapi.net"
        | "https://database.chinacloudapi.cn"
        | "022907d3-0f1b-48f7-badc-1ba6abab6d66" => "Azure SQL Database",
        "https://ossrdbms-aad.database.windows.net" => "Azure Database",
        "https://cosmos.azure.com" => "Azure Cosmos DB",
        "https://servicebus.azure.net" => "Azure Service Bus",
        "https://eventhubs.azure.net" => "Azure Event Hubs",
        "https://cognitiveservices.azure.com"
        | "https://cognitiveservices.azure.us"
        | "https://cognitiveservices.azure.cn"
        | "7d312290-28c8-473c-a0ed-8e53749b6d6d" => "Azure AI services",
        "https://ai.azure.com" => "Azure AI Foundry",
        "https://search.azure.com" => "Azure AI Search",
        "https://api.loganalytics.io" | "https://monitor.azure.com" => "Azure Monitor",
        "https://app.vssps.visualstudio.com" | "499b84ac-1321-427f-aa17-267ca6975798" => {
            "Azure DevOps"
        }
        "https://analysis.windows.net/powerbi/api" | "00000009-0000-0000-c000-000000000000" => {
            "Power BI"
        }
        "https://outlook.office365.com"
        | "https://outlook.office.com"
        | "00000002-0000-0ff1-ce00-000000000000" => "Exchange Online",
        "00000003-0000-0ff1-ce00-000000000000" => "SharePoint Online",
        "api://AzureADTokenExchange"
        | "api://AzureADTokenExchangeUSGov"
        | "api://AzureADTokenExchangeChina"
        | "fb60f99c-7a34-4190-8149-302f77469936" => {
            "Entra's token exchange (federated credentials)"
        }
        other => {
            let host = other.strip_prefix("https://")?;
            let is_sharepoint = [".sharepoint.com", ".sharepoint.us", ".sharepoint.cn"]
                .into_iter()
                .any(|suffix| host.ends_with(suffix));
            return is_sharepoint.then_some("SharePoint Online");
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_of_microsoft_is_known_by_uri_or_id_with_or_without_slash() {
        for (audience, name) in [
            (
                "https://management.azure.com",
                Some("Azure Resource Manager"),
            ),
            (
                "https://management.azure.com/",
                Some("Azure Resource Manager"),
            ),
            (
                "797f4846-ba00-4fd7-ba43-dac1f8f63013",
                Some("Azure Resource Manager"),
            ),
            ("https://contoso.sharepoint.com", Some("SharePoint Online")),
            ("https://management.azure.com//", None),
            ("api://orders", None),
            ("6e74172b-be56-4843-9ff4-e66a39bb12e3", None),
            ("", None),
        ] {
            assert_eq!(name_of(audience), name, "{audience}");
        }
    }
}
